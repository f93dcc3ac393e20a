;; The second segment is out of bounds. What the first one wrote is dropped with the store.
(module (memory 1) (data (i32.const 0) "written") (data (i32.const 65530) "does not fit"))
