package container

import "maps"

// EventAttributes are what an event about a container tells: its labels, image and name, and further pairs of key and
// value.
func (c *Container) EventAttributes(pairs ...string) map[string]string {
	attrs := make(map[string]string, len(pairs)/2+2)
	if c.Config != nil {
		maps.Copy(attrs, c.Config.Labels)
		if c.Config.Image != "" {
			attrs["image"] = c.Config.Image
		}
	}
	attrs["name"] = c.Name
	for i := 0; i+1 < len(pairs); i += 2 {
		attrs[pairs[i]] = pairs[i+1]
	}
	return attrs
}
