;; Up to 1 TiB and one Wasm page.
(module (memory (export "memory") i64 1 0x1000001))
