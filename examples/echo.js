// An echo server on Node's net: node echo.js 127.0.0.1 9000
'use strict';
const net = require('node:net');

const [host, port] = process.argv.slice(2);
const server = net.createServer({ noDelay: true }, (connection) => {
  connection.on('error', () => connection.destroy()); // of one connection: the others go on
  connection.pipe(connection); // stops reading while the peer doesn't take what was sent
});
server.listen({ host, port: Number(port), backlog: 4096 });
