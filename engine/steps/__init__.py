"""Handlers of steps: step kind → ten to forty lines that call the parts of the engine."""
