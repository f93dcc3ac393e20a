;; The second memory is larger than the window. The first must be released all the same.
(module (memory 1 1) (memory i64 0x20000000 0x20000000))
