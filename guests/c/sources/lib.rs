//! Empty: cargo requires a target in every package.
