//! Storage formats as methods of a cache; [`headwise_kernels::kv::Codec`] does the work.

headwise_spec::method! {
    /// Stores keys and values in 32-bit floats.
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
