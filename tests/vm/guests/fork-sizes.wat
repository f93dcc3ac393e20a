;; A guest whose memory can have any size from one Wasm page to 4 GiB.
(module
  (memory (export "memory") 1 65536)
  (global $count (mut i32) (i32.const 0))
  (data (i32.const 16) "data")
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  ;; Writes to each of a number of pages of 4 KiB.
  (func (export "touch") (param $pages i32)
    (loop $again
      (if (local.get $pages) (then
        (local.set $pages (i32.sub (local.get $pages) (i32.const 1)))
        (i32.store (i32.mul (local.get $pages) (i32.const 4096)) (local.get $pages))
        (br $again)))))
  ;; Counts in a global and in the first page.
  (func (export "count") (result i32)
    (global.set $count (i32.add (global.get $count) (i32.const 1)))
    (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (i32.const 1)))
    (global.get $count)))
