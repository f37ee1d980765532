"""What people see: the command line, the web server with its HTTP API, the pages.

Imports everything; nobody imports it.
"""
