module lfgpods.test/stub

go 1.24.0
