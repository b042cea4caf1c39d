"""What is remembered: corpora, uploads, jobs, cartridges, in SQLite and files."""
