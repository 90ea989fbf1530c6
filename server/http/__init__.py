"""The edge: connections, layers around the routes, bodies, pages, the OpenAPI document."""
