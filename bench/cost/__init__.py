"""What an architecture costs: price books, resource counts, projection, simulation, decision map."""
