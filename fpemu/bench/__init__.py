"""Speed, measured side by side: rounding and arithmetic in `arrays`, sums of products in `products`."""
