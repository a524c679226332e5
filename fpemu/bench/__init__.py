"""Speed, measured side by side: rounding and arithmetic in `arrays`, sums of products in `products` with
the other libraries in `peers`; and in `loops` what the processor is given to do, read by `assembly`."""
