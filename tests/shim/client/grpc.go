package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gantry-containers/gantry/shim/ttrpc"
)

// Client is a client of one daemon, in one namespace. Its calls may run at the same time; it connects anew when the
// daemon was away.
type Client struct {
	namespace string
	http      http.Client
}

// New makes a client for the daemon's socket, a path. It does not connect.
func New(socket, namespace string) *Client {
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	return &Client{namespace: namespace, http: http.Client{Transport: &http.Transport{
		Protocols: protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

// Close ends the connections that no call uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call makes a unary call. An error of the daemon's is a *ttrpc.Error, whose codes are gRPC's; that the daemon is not
// there is one of class Unavailable.
func (c *Client) call(ctx context.Context, method string, request message) ([]byte, error) {
	response, err := c.post(ctx, method, request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := frame(response.Body)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, ttrpc.Errorf(ttrpc.Unavailable, "%s: %w", method, err)
	}
	// The status is in the trailer, which comes with the body's end.
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return nil, ttrpc.Errorf(ttrpc.Unavailable, "%s: %w", method, err)
	}
	return answer, status(response, method)
}

// post sends the request and returns when the daemon begins to answer.
func (c *Client) post(ctx context.Context, method string, request message) (*http.Response, error) {
	body := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request))), request...)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://containerd"+method, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("Te", "trailers")
	r.Header.Set("Containerd-Namespace", c.namespace)
	response, err := c.http.Do(r)
	if err != nil {
		return nil, ttrpc.Errorf(ttrpc.Unavailable, "%s: %w", method, err)
	}
	return response, nil
}

// frame reads a message with gRPC's head of five bytes.
func frame(r io.Reader) ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	if head[0] != 0 {
		return nil, errors.New("a compressed message, which was not asked for")
	}
	b := make([]byte, binary.BigEndian.Uint32(head[1:]))
	_, err := io.ReadFull(r, b)
	return b, err
}

// status is what the call ended with: in the trailer, or in the header where there is no message.
func status(response *http.Response, method string) error {
	from := response.Trailer
	if from.Get("Grpc-Status") == "" {
		from = response.Header
	}
	code, err := strconv.Atoi(from.Get("Grpc-Status"))
	if err != nil {
		return fmt.Errorf("%s: no status: %s", method, response.Status)
	}
	if code == 0 {
		return nil
	}
	text, err := url.PathUnescape(from.Get("Grpc-Message"))
	if err != nil {
		text = from.Get("Grpc-Message")
	}
	return ttrpc.Errorf(ttrpc.Code(code), "%s", text)
}
