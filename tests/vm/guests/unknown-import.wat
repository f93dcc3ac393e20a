;; Imports a function that no linker defines.
(module (import "env" "missing" (func)) (memory 100))
