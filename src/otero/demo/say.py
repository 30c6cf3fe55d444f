"""What the demo tells on the terminal."""

import time


def say(text: str) -> None:
    """One line with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)
