;; Faults: dense, sparse, by reads and by writes, with and without clears between them.
(module
  (import "palimpsest" "clear_pages" (func $clear_pages (param i64 i64) (result i32)))
  (memory (export "memory") i64 16777216 16777216)   ;; 1 TiB

  ;; Writes a word at every `stride` bytes, `count` times.
  (func $write (export "write") (param $from i64) (param $stride i64) (param $count i64)
    (loop $next
      (i64.store (local.get $from) (i64.const 1))
      (local.set $from (i64.add (local.get $from) (local.get $stride)))
      (br_if $next (i64.ne (local.tee $count (i64.sub (local.get $count) (i64.const 1))) (i64.const 0)))))

  (func $read (export "read") (param $from i64) (param $stride i64) (param $count i64)
    (loop $next
      (drop (i64.load (local.get $from)))
      (local.set $from (i64.add (local.get $from) (local.get $stride)))
      (br_if $next (i64.ne (local.tee $count (i64.sub (local.get $count) (i64.const 1))) (i64.const 0)))))

  ;; Writes after the last frame, and never calls the host.
  (func (export "write_on") (local $at i64)
    (loop $next
      (i64.store (local.get $at) (i64.const 1))
      (local.set $at (i64.and (i64.add (local.get $at) (i64.const 4096)) (i64.const 0xffffffffff)))
      (br $next)))

  ;; Touches `count` pages and clears their Wasm pages in one call, again and again.
  (func (export "write_and_clear") (param $stride i64) (param $count i64)
    (loop $again
      (call $write (i64.const 0) (local.get $stride) (local.get $count))
      (drop (call $clear_pages
        (i64.const 0)
        (i64.add (i64.shr_u (i64.mul (local.get $stride) (local.get $count)) (i64.const 16)) (i64.const 1))))
      (br $again)))
  (func (export "read_and_clear") (param $stride i64) (param $count i64)
    (loop $again
      (call $read (i64.const 0) (local.get $stride) (local.get $count))
      (drop (call $clear_pages
        (i64.const 0)
        (i64.add (i64.shr_u (i64.mul (local.get $stride) (local.get $count)) (i64.const 16)) (i64.const 1))))
      (br $again)))
  ;; Clears the whole memory while `count` scattered pages of it are present.
  (func (export "clear_everything") (param $stride i64) (param $count i64)
    (loop $again
      (call $write (i64.const 0) (local.get $stride) (local.get $count))
      (drop (call $clear_pages (i64.const 0) (memory.size)))
      (br $again)))

  ;; Holds `count` pages, and goes on with one of them.
  (func (export "hold") (param $count i64)
    (call $write (i64.const 0) (i64.const 4096) (local.get $count))
    (loop $again
      (i64.store (i64.const 0) (i64.add (i64.load (i64.const 0)) (i64.const 1)))
      (br $again)))

  ;; Computes for a while, so that a unit of fuel seems cheap, and then faults at each unit.
  (func (export "lull_and_fault") (param $calm i64) (param $pages i64) (local $n i64)
    (loop $again
      (local.set $n (local.get $calm))
      (loop $calmly (br_if $calmly
        (i64.ne (local.tee $n (i64.sub (local.get $n) (i64.const 1))) (i64.const 0))))
      (call $write (i64.const 0) (i64.const 4096) (local.get $pages))
      (drop (call $clear_pages (i64.const 0) (i64.add (i64.shr_u (local.get $pages) (i64.const 4)) (i64.const 1))))
      (br $again)))

  ;; Two runs of writes, `apart` bytes from each other, whose pages ahead are taken back by single
  ;; writes when no frame is left. `tables` frames are tables, which are never taken back.
  (func (export "runs_apart") (param $tables i64) (param $apart i64) (local $k i64)
    (call $read (i64.const 0) (i64.const 0x200000) (local.get $tables))
    (loop $again
      (call $write (i64.const 0x20000) (i64.const 4096) (i64.const 4))
      (call $write (local.get $apart) (i64.const 4096) (i64.const 4))
      (call $write (i64.const 0x60000) (i64.const 0x10000) (i64.const 20))
      (drop (call $clear_pages (i64.const 2) (i64.const 28)))
      (drop (call $clear_pages (i64.shr_u (local.get $apart) (i64.const 16)) (i64.const 1)))
      (br $again))))
