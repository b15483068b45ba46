"""The harness: workload, services, driver, consumers, results, command line."""
