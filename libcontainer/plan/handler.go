package plan

import (
	"strconv"
	"strings"
)

// Wasm is the handler whose containers run a WebAssembly module (docs/decisions/0026).
const Wasm = "wasm"

// The annotations that ask for a handler, as crun defined them, and the one by which
// Kubernetes marks the container that holds a pod's namespaces: it inherits the pod's
// annotations and is an ordinary program.
const (
	handlerAnnotation = "run.oci.handler"
	variantAnnotation = "module.wasm.image/variant"
	sandboxAnnotation = "io.kubernetes.cri.container-type"
)

// chooseHandler finds out what will execute the program: "" is the kernel.
func (c *compiler) chooseHandler() {
	a := c.Spec.Annotations
	key := handlerAnnotation
	if _, ok := a[key]; !ok {
		key = variantAnnotation
	}
	value, asked := a[key]
	if !asked || a[sandboxAnnotation] == "sandbox" {
		return
	}
	c.handlerField = "annotations[" + strconv.Quote(key) + "]"
	program := strings.ToLower(c.proc.Args[0])
	isText := strings.HasSuffix(program, ".wat")
	switch key + "=" + value {
	case handlerAnnotation + "=wasm", variantAnnotation + "=compat":
		c.handler = Wasm
	case handlerAnnotation + "=wasm-smart", variantAnnotation + "=compat-smart":
		if !isText && !strings.HasSuffix(program, ".wasm") {
			return // a container beside the module's that got the same annotations
		}
		c.handler = Wasm
	default:
		c.fail(c.handlerField, "the handler "+strconv.Quote(value)+" is not supported")
	}
	if c.handler != "" && isText {
		c.fail("process.args[0]", "WebAssembly text is not supported: translate it to a module, as wat2wasm does")
	}
}
