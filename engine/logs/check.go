package logs

import (
	"fmt"

	"github.com/docker/go-units"
)

// Check says no to a driver that is not known, and to options that it does not have. The texts are dockerd's. Values
// are looked at when the log is opened, as there; but for the mode.
func Check(driver string, options map[string]string) error {
	if driver == None {
		return nil
	}
	switch m := options["mode"]; m {
	case "", "blocking", "non-blocking":
	default:
		return fmt.Errorf("logger: logging mode not supported: %s", m)
	}
	if size, ok := options["max-buffer-size"]; ok {
		if options["mode"] != "non-blocking" {
			return fmt.Errorf("logger: max-buffer-size option is only supported with 'mode=%s'", "non-blocking")
		}
		if _, err := units.RAMInBytes(size); err != nil {
			return fmt.Errorf("error parsing option max-buffer-size: %w", err)
		}
	}
	unknown := ""
	switch driver {
	case JSONFile:
		unknown = "unknown log opt '%s' for json-file log driver"
	case Local:
		unknown = "unknown log opt '%s' for log driver local"
	default:
		return fmt.Errorf("error looking up logging plugin %s: plugin %q not found", driver, driver)
	}
	for k := range options {
		if !known(k) {
			return fmt.Errorf(unknown, k)
		}
	}
	return nil
}

func known(option string) bool {
	switch option {
	case "mode", "max-buffer-size", "max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag":
		return true
	}
	return option == "cache-disabled" || option == "cache-max-size" || option == "cache-max-file" || option == "cache-compress"
}
