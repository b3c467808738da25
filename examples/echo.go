// An echo server with a goroutine for each connection:
//
//	go build -o echo-go echo.go
//	./echo-go 127.0.0.1 9000
package main

import (
	"log"
	"net"
	"os"
)

const bufferBytes = 4096

// Not io.Copy: between two sockets of Linux that is splice, through a pipe.
func echo(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, bufferBytes)
	for {
		count, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err := connection.Write(buffer[:count]); err != nil {
			return
		}
	}
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: echo-go HOST PORT")
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(os.Args[1], os.Args[2]))
	if err != nil {
		log.Fatal(err)
	}
	for {
		connection, err := listener.Accept() // TCP_NODELAY is set by default
		if err != nil {
			log.Fatal(err)
		}
		go echo(connection)
	}
}
