"""What the shop sells, who buys there, and how."""

from typing import Final

PRICES: Final = {"lamp": 39.0, "chair": 89.0, "table": 249.0, "sofa": 799.0, "rug": 120.0}
PRODUCTS: Final = tuple(PRICES)
USERS: Final = ("ada", "grace", "linus", "margaret", "dennis", "barbara", "ken", "radia")
PASSWORD: Final = "demo"  # noqa: S105 — of a demo that ends with its process
BAD_CARD: Final = "0000"
