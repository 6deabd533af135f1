// Command module is what the tests of the wasm handler run: built for WASI, it does what its
// arguments say, one after the other, and tells what came of it.
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

func main() {
	for _, arg := range os.Args[1:] {
		verb, operand, _ := strings.Cut(arg, "=")
		if err := do(verb, operand); err != nil {
			fmt.Printf("%s: %v\n", verb, err)
		}
	}
}

func do(verb, operand string) error {
	switch verb {
	case "args":
		fmt.Printf("%q\n", os.Args)
	case "env":
		fmt.Printf("%s=%s\n", operand, os.Getenv(operand))
	case "cwd":
		dir, err := os.Getwd()
		fmt.Println(dir)
		return err
	case "copy":
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	case "read":
		b, err := os.ReadFile(operand)
		fmt.Print(string(b))
		return err
	case "write":
		return os.WriteFile(operand, []byte("written by the module\n"), 0o644)
	case "open": // for writing what is there
		f, err := os.OpenFile(operand, os.O_RDWR, 0)
		if err == nil {
			fmt.Println("opened", operand)
			return f.Close()
		}
		return err
	case "stderr":
		fmt.Fprintln(os.Stderr, operand)
	case "allocate": // MiB, touched
		n, err := strconv.Atoi(operand)
		if err != nil {
			return err
		}
		b := make([]byte, n<<20)
		for i := range b {
			b[i] = 1
		}
	case "sleep":
		time.Sleep(time.Hour)
	case "exit":
		n, err := strconv.Atoi(operand)
		if err != nil {
			return err
		}
		os.Exit(n)
	}
	return nil
}
