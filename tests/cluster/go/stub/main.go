// The only program of the smallest test images: as "sh" it fails at once, under any other name it waits for
// SIGTERM. A sandbox needs nothing more, and neither does an image without a shell.
package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	if filepath.Base(os.Args[0]) == "sh" {
		os.Exit(1)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
}
