"""A FastAPI application for tests with real servers."""

import os

from fastapi import FastAPI

from otero_sdk import instrument

app = FastAPI()
instrument(app, service="api", access_log=False)


@app.get("/pid")
async def pid() -> int:
    return os.getpid()
