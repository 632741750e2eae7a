"""Taking over a warehouse that the field's earlier scripts have written: recognised, registered, or read in anew."""
