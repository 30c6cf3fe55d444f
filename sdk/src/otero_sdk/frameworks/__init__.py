"""How each framework is entered, and what it calls the route of a request."""
