package attach

import (
	"context"
	"net/http"

	"golang.org/x/net/websocket"

	"github.com/gantry-containers/gantry/engine/httpapi"
)

// attachWebSocket is attach for browsers: no frames by stream, a WebSocket's own instead of raw bytes. Its session ends
// with the engine, who speaks the protocol.
func (s *Routes) attachWebSocket(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := httpapi.ParseForm(r); err != nil {
		return err
	}
	c, want, err := s.prepare(r, vars["name"])
	if err != nil {
		return err
	}
	if httpapi.Before(ctx, "1.42") {
		want.Stdin, want.Stdout, want.Stderr = true, true, true
	}
	serve := func(ws *websocket.Conn) {
		if !httpapi.Before(ctx, "1.28") {
			ws.PayloadType = websocket.BinaryFrame
		}
		conn := &closeOnce{Conn: ws, closed: make(chan struct{})}
		s.serve(context.WithoutCancel(ctx), c, want, conn)
		<-conn.closed // The server closes it when this returns.
	}
	websocket.Server{Handler: serve}.ServeHTTP(w, r)
	return nil
}
