"""What healthy trainings are composed of: tasks, networks, recipes, and the loop that joins them."""
