"""The thin shell towards the API server: reads come from watches, writes from one client."""
