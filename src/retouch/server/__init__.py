"""The REST service and the web page: security, limits and a queue around ``retouch.engine``, and no logic of its own.

Needs the extra ``serve``. ``retouch serve`` starts it; ``retouch.server.app.create_app`` is the ASGI application.
"""
