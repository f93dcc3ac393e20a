;; A memory with pages of one byte. Its size must stay a number of 32 bits.
(module
  (memory (export "memory") 5 (pagesize 1))
  (func (export "run") (result i32)
    (drop (memory.grow (i32.const 0x7ffffff0)))
    (drop (memory.grow (i32.const 0x7ffffff0)))
    (drop (memory.grow (i32.const 0x1b)))
    (drop (memory.grow (i32.const 1)))
    (i32.ne (memory.size) (i32.const 0))))
