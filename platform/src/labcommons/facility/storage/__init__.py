"""Tables, migrations, repositories and the unit of work."""
