;; The second memory is larger than the window: the first must not stay behind.
(module (memory 1 1) (memory i64 0x20000000 0x20000000))
