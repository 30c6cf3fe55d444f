"""The demo's three services: gateway, users, orders. Each is a Flask application in a process of its own."""
