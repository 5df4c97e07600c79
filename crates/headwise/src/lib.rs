//! Compare, run and serve the published ways for tokens to attend to each other.
