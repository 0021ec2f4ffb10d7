"""One line for each trainer that people use. A module imports its trainer's library when it is imported itself."""
