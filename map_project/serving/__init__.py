"""How requests are served: gunicorn, its worker, and the turns of its threads."""
