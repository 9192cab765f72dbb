"""Very many images: what lists them, and answers on disk that are resumed."""
