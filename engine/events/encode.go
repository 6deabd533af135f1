package events

import (
	"encoding/json"
	"sync"

	api "github.com/moby/moby/api/types/events"
)

// Event is a message that is encoded once, however many listeners write it.
type Event struct {
	Message api.Message

	once, onceOld sync.Once
	line, old     []byte
}

// JSON is the message with a line feed behind it. The bytes are shared: they must not be changed.
func (e *Event) JSON() []byte {
	e.once.Do(func() { e.line = encode(e.Message) })
	return e.line
}

// OldJSON is the message as it was before API 1.52, when status, id and from were told twice.
func (e *Event) OldJSON() []byte {
	e.onceOld.Do(func() {
		m := oldMessage{Message: e.Message}
		switch e.Message.Type {
		case api.ContainerEventType:
			from := e.Message.Actor.Attributes["image"]
			m.From = &from
			m.Status, m.ID = &e.Message.Action, &e.Message.Actor.ID
		case api.ImageEventType:
			m.Status, m.ID = &e.Message.Action, &e.Message.Actor.ID
		default:
			e.old = e.JSON()
			return
		}
		e.old = encode(m)
	})
	return e.old
}

type oldMessage struct {
	Status *api.Action `json:"status,omitempty"`
	ID     *string     `json:"id,omitempty"`
	From   *string     `json:"from,omitempty"`
	api.Message
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // Strings and numbers can always be encoded.
		return nil
	}
	return append(b, '\n')
}
