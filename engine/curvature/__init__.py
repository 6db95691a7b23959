"""How much the loss bends along each layer's weights: estimators, predicted and measured cost of rounding."""
