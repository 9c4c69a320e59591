"""The server in front of Flask: holds, bounds and times requests before a thread works on them."""
