// Command program links the library, and with cgo on the C library, too.
package main

import (
	"fmt"
	_ "os/user"

	"github.com/gantry-containers/gantry/libcontainer"
)

func main() {
	r := &libcontainer.Runtime{Root: "/nonexistent"}
	fmt.Println(r.Create(&libcontainer.CreateOptions{ID: "c", Bundle: "/nonexistent"}))
}
