"""The check of an object store: ``store`` is where it begins, the others look at one kind of object each."""
