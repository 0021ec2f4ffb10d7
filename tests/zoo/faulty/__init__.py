"""What ill trainings are composed of: data, small networks, and a loop with places for faults."""
