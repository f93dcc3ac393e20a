;; One Wasm page that may become 65,536.
(module
  (memory (export "memory") 1 65536))
