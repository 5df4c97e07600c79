//! Storage formats as methods of a cache; [`headwise_kernels::kv::Codec`] does the work.

headwise_spec::method! {
    /// Stores keys and values in 32-bit floats.
    ///
    /// The reference of parity tests; twice the memory of the default.
    pub struct F32 {}
}

headwise_spec::method! {
    /// Stores keys and values in IEEE half precision; the default.
    pub struct F16 {}
}

headwise_spec::method! {
    /// Stores keys and values in bfloat16.
    pub struct Bf16 {}
}

headwise_spec::method! {
    /// Stores keys and values in bytes, with one scale per key and per value.
    ///
    /// `code = round(x / scale)`, `scale = max|x| / 127`. About half the memory of half precision.
    pub struct Int8 {}
}

headwise_spec::method! {
    /// Stores keys and values in 4 bits, with a scale and a minimum per 32 channels.
    ///
    /// `code = round((x - min) / scale)`, `scale = (max - min) / 15`. 5 bits per number, all told.
    pub struct Int4 {}
}

headwise_spec::method! {
    /// Stores keys in 4 bits per channel and values in 4 bits per token; the last 128 pairs stay in half precision.
    ///
    /// Keys have outlier channels, so they are quantised along the tokens, in groups of 32; values along 32 channels. Pairs
    /// are coded after the chunk of the prompt that brought them has been read, so the size of chunks matters a little.
    /// Liu et al. 2024, arXiv:2402.02750.
    pub struct Kivi4 {}
}

headwise_spec::method! {
    /// Stores keys in 2 bits per channel and values in 2 bits per token; the last 128 pairs stay in half precision.
    ///
    /// As `kivi4` with 2 bits: 3 bits per number, scales included. Liu et al. 2024, arXiv:2402.02750.
    pub struct Kivi2 {}
}
