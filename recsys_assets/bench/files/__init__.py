"""Small files of every form that shops export, each with its right reading."""
