"""Commands, one module each, which is imported when its command is called."""
