"""The server in front of Flask: requests held, bounded and timed before a thread works on them."""
