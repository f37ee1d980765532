"""What a trace is and how one is made. Imports nothing else of ours: no database, no web, no trainer."""
