"""The report's figures: ``style`` is how all of them look, each other module one kind of question."""
